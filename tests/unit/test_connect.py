import os

import pytest

from seedcore.cluster.connection import connect
from seedcore.errors import ClusterUnreachableError


@pytest.mark.usefixtures("no_head")
def test_a_connection_that_failed_leaves_the_environment_as_it_was() -> None:
    before = dict(os.environ)
    with pytest.raises(ClusterUnreachableError):
        connect()
    assert dict(os.environ) == before
