"""`python -m realtime_client`."""

import sys

from realtime_client.cli import main

sys.exit(main())
