"""The filter of one series row by row, in numpy: what `inference` computes for whole files, in microseconds a row."""
