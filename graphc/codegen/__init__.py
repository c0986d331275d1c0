"""Native code: a Program to LLVM text to relocatable object bytes and a manifest. All LLVM emission is here."""
