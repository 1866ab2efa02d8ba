/* Links to a library that natively exists twice. */
#include <base1.h>
#include <stdio.h>

int main(void)
{
    printf("%d\n", base1());
    return 0;
}
