"""What happens once, whoever tries first: for functions that fail or die in their first run only."""

import os


def first_time(path):
    """Whether nobody has called this with the path before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False
