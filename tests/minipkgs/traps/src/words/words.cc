// Counts its arguments by word, and complains by exception.
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>

int main(int argc, char **argv)
{
    std::map<std::string, int> count;
    try {
        if (argc < 2)
            throw std::invalid_argument("no words");
        for (int i = 1; i < argc; i++)
            count[argv[i]]++;
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    for (const auto &[word, times] : count)
        std::cout << times << ' ' << word << '\n';
    return 0;
}
