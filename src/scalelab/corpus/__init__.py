"""Text in, tokens on disk: sources, splits, tokenizers and memory-mapped shards.

corpus = prepare(CorpusSpec(paths=("books",)), Path("cache"))
corpus.train.array()        # every training token, memory-mapped
"""

from scalelab.corpus.corpus import Corpus
from scalelab.corpus.prepare import Progress, prepare
from scalelab.corpus.shards import Shards
from scalelab.corpus.spec import CorpusSpec

__all__ = ["Corpus", "CorpusSpec", "Progress", "Shards", "prepare"]
