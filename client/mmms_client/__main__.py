"""``python -m mmms_client``: the same as ``mmms-client``."""

from mmms_client.cli import main

main()
