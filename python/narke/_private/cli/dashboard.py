"""``narke dashboard``: a link to a cluster's dashboard that logs in."""

from __future__ import annotations

import argparse
import sys

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Print the link; returns 1 when there is no cluster, or it has no dashboard.

    The token stands in the link's fragment, which browsers send to nobody.
    """
    parser = argparse.ArgumentParser(prog="narke dashboard", description=__doc__)
    parser.add_argument("--address", help="the cluster's address; the latest of this machine by default")
    options = parser.parse_args(argv)
    from narke._private.gateway_address import find_gateway

    try:
        url, token = find_gateway(options.address)
    except ConnectionError as error:
        print(f"narke dashboard: {error}", file=sys.stderr)
        return 1
    print(f"{url}/#token={token}" if token else url)
    return 0
