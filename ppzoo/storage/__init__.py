"""Keep a fit: a folder that is written whole or not at all, and read without running anything.

A folder holds a few flat files (safetensors for tensors, NetCDF for draws, JSON for settings) and ``manifest.json``,
which lists the size and SHA-256 of each and carries a SHA-256 of itself. Whatever is truncated, edited, missing or
added is a :class:`~ppzoo.errors.StorageError` that names the file. No part of this package uses pickle.

* ``folder``: write, read and check a folder; the only file the rest of ppzoo needs for folders.
* ``manifest``: the text of ``manifest.json`` and the rules for file names.
* ``swap``: one folder takes the place of another, so that a crash leaves the old or the new.
* ``lock``: one writer at a time.
* ``drawlog``: draws of many chains that survive the end of their process; ``drawlog_record``, ``drawlog_rows``,
  ``drawlog_door``, ``drawlog_reading``: its record of what is safe, its row files, its checks, reading without torch.
* ``tensors``, ``netcdf``, ``text``: tensors, an ArviZ tree, and JSON values as bytes and back.
"""
