#include "top.h"

int top(void)
{
    return middle() + 1;
}
