"""`python -m deploy.cli` = the command `cowork`."""

from deploy.cli.app import main

main()
