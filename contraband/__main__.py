"""`python -m contraband` is the command `contraband`."""

import gc

gc.set_threshold(50_000)  # imports make many objects and no garbage: a tenth of their time

if __name__ == "__main__":  # not in workers, which import this module too
    from contraband.cli import main

    main()
