/* Writes a table of cubes as C text. */
#include <stdio.h>

int main(void)
{
    printf("static const unsigned cubes[] = {");
    for (unsigned i = 0; i < 16; i++)
        printf("%s%u", i ? ", " : " ", i * i * i);
    printf(" };\n");
    return 0;
}
