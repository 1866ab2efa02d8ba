/* Says which compiler and C library it was made with. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    char line[64];

    memset(line, 0, sizeof line);
    strncpy(line, argc > 1 ? argv[1] : "hello", sizeof line - 1);
#ifdef __clang__
    puts("clang");
#else
    puts("gcc");
#endif
#ifdef __GLIBC__
    puts("glibc");
#else
    puts("musl");
#endif
    puts(line);
    return 0;
}
