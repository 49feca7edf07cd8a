"""What every room stands on: errors, files, manifests, metrics, messages, hardware. Imports no
other room and no torch.
"""
