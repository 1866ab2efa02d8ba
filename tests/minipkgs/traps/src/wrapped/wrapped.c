/* Says what its wrapper tells it to. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    const char *greeting = getenv("WRAPPED_GREETING");
    if (greeting == NULL)
        return 1;
    puts(greeting);
    return 0;
}
