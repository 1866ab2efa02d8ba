int base1(void);
