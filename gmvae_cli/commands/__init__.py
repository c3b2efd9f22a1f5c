"""One module per subcommand: what it does, without printing."""
