"""`python -m aiorocketmq` is the command line."""

import sys

from aiorocketmq.cli import main

sys.exit(main())
