"""`python -m artifact_cas_client` is `cas`."""

import sys

from artifact_cas_client.cli import main

sys.exit(main())
