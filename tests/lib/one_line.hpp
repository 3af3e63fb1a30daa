// SPDX-License-Identifier: Apache-2.0
// Files of one line, as the kernel's settings are.
#ifndef WEFT_TESTS_ONE_LINE_HPP
#define WEFT_TESTS_ONE_LINE_HPP

#include <fstream>
#include <string>

inline void
write_line(const std::string &path, const std::string &text)
{
	std::ofstream(path) << text << "\n";
}

inline std::string
read_line(const std::string &path)
{
	std::string line;
	std::ifstream f(path);
	std::getline(f, line);
	return line;
}

#endif
