#include <base1.h>

int middle(void);
