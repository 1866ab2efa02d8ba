/* Writes a table of square numbers as C text. */
#include <stdio.h>

int main(void)
{
    printf("static const unsigned squares[] = {");
    for (unsigned i = 0; i < 64; i++)
        printf("%s%u", i ? ", " : " ", i * i);
    printf(" };\n");
    return 0;
}
