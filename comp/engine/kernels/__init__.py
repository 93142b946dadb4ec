"""CPU operations in C++, one per file, compiled on the machine that runs them."""
