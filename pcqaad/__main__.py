"""`python -m pcqaad`: the command line."""

from pcqaad.cli.main import main

if __name__ == "__main__":
    main()
