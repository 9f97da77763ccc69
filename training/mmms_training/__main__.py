"""``python -m mmms_training``, and ``torchrun -m mmms_training``: the same as ``mmms-train``."""

from mmms_training.cli import main

if __name__ == "__main__":
    main()
