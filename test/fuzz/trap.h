// What the module calls instead of a long jump when it traps; wasm-rt-impl.c does not declare it.
void parser_trapped(int code);
