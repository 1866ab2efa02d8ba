#include <middle.h>

int top(void);
