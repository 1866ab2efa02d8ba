#include "middle.h"

int middle(void)
{
    return base1() + 1;
}
