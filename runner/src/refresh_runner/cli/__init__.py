"""The subcommands of `refresh-runner`, one module each."""
