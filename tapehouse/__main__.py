"""`python -m tapehouse` is the command line."""

from tapehouse.cli.main import main

if __name__ == "__main__":
    main()
