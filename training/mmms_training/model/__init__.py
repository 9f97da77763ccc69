"""The network of the paper, one module per box of its figure; :mod:`mmms_training.model.mmms` composes them."""
