"""Seeds that have gone wrong, and what they have found: they are told for ever.

A change of the world gives a seed another story, so what can be told in a few lines has a test of its own as well.
"""

KEPT: dict[int, str] = {
    45: "an empty replica stood for a shard whose other replica did not answer",
    208: "addresses were swapped while the API server was down, and a local copy passed for gone on the wrong sidecar",
    868: "a remote list was partial, and an archive that it left out passed for removed",
    2332: "two controllers and somebody else's writes went round without ever waiting",
    8347: "the local copy of a proven archive passed for deleted at an address that another sidecar had by then",
    10170: "a remote list was partial, and a download of a restore that was deleted stayed on the disk",
}
