"""A prepared store as WebDataset shards: written to a folder, read from there or from a URL.

A folder of shards, which may be copied to a bucket or a web server as it is:

====================  ============================================================================
``shards.json``       settings; names, sizes and SHA-256 of all other files, and a digest of itself;
                      written last: it marks a whole folder
``index.csv``         the store's own, byte for byte; a clip is the same row here and there
``rejected.csv``      the store's own
``places.npz``        of every clip its shard, and where its sound and frames begin in it
``shard-000000.tar``  WebDataset samples: ``<row>.json``, ``<row>.audio.npy``, and
                      ``<row>.frames.npy`` or ``<row>.000.jpg``, ``<row>.001.jpg``, …
``unfinished.json``   only while they are written: that all that lies there is the writer's own
====================  ============================================================================

Clips stand in a random order, the same for every folder made of one store, so that neighbours are
not of one actor or class. No shard holds clips of both published halves.
"""

from inforeg_lightning.data.shards._sampler import WINDOW, ShardSampler
from inforeg_lightning.data.shards._shards import Shards
from inforeg_lightning.data.shards._url import SCHEMES, is_url, shown
from inforeg_lightning.data.shards._write import write_shards

__all__ = ["SCHEMES", "WINDOW", "ShardSampler", "Shards", "is_url", "shown", "write_shards"]
