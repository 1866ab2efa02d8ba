/* Names one library, and uses what that one's headers bring along. */
#include <stdio.h>
#include <top.h>

int main(void)
{
    printf("%d %d %d\n", base1(), middle(), top());
    return 0;
}
