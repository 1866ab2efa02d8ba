#include "base1.h"

int base1(void)
{
    return 1;
}
