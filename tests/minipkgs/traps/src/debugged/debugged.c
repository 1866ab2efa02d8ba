/* Enough code, with libc's types, to have debug information worth the name. */
#include <stdio.h>
#include <string.h>

struct word {
    const char *text;
    size_t length;
};

static struct word measure(const char *text)
{
    struct word word = { text, strlen(text) };
    return word;
}

int main(int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        struct word word = measure(argv[i]);
        fprintf(stdout, "%zu %s\n", word.length, word.text);
    }
    return 0;
}
