"""The functions of `import comp`: what the programs and commands do, for notebooks and programs."""
