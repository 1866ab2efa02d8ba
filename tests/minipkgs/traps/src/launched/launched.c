/* Says its own name. */
#include <stdio.h>

int main(void)
{
    puts("launched");
    return 0;
}
