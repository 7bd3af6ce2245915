"""`python -m contraband` is the command `contraband`."""

from contraband.cli import main

if __name__ == "__main__":
    main()
