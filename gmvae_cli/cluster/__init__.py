"""Work dealt out to processes or machines: whole files, and stretches of series that are too long for one."""
