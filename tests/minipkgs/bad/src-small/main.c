double twice(double number);
int main(int count, char **words) { return words[0] && twice(count) > 99; }
