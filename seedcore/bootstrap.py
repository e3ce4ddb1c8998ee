"""Where the singletons are created and looked up; `python -m seedcore.bootstrap` is what the init container runs."""

import sys

from seedcore.cluster.bootstrap import (
    bootstrap_actors,
    get_miss_tracker,
    get_mw_store,
    get_shared_cache,
    get_singleton,
    main,
)

__all__ = ["bootstrap_actors", "get_miss_tracker", "get_mw_store", "get_shared_cache", "get_singleton"]

if __name__ == "__main__":
    sys.exit(main())
