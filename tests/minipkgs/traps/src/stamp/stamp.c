/* Prints the Adler-32 checksum of a file. */
#include <stdio.h>

int main(int argc, char **argv)
{
    unsigned long low = 1, high = 0;
    int byte;
    FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL)
        return 1;
    while ((byte = getc(file)) != EOF) {
        low = (low + (unsigned long)byte) % 65521;
        high = (high + low) % 65521;
    }
    fclose(file);
    printf("%08lx\n", high << 16 | low);
    return 0;
}
