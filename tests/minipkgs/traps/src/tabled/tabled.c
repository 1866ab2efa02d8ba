/* Prints the last number of the table that was made while building. */
#include <stdio.h>

#include "table.h"

int main(void)
{
    printf("%u\n", cubes[sizeof cubes / sizeof *cubes - 1]);
    return 0;
}
