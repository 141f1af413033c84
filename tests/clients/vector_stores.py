"""A program that stores texts by their embeddings and finds them again, with LangChain or LlamaIndex.

Its argument is what to ask, as JSON; it prints what it found.
"""

# mypy: ignore-errors
# It runs in environments of its own, with clients that mypy does not see.

import asyncio
import json
import sys
from importlib.util import find_spec

ASKED = json.loads(sys.argv[1])
BASE_URL, MODEL, TEXTS, QUESTION = (ASKED[name] for name in ("base_url", "model", "texts", "question"))


def langchain_openai():
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_openai import OpenAIEmbeddings
    from openai import BadRequestError

    # Otherwise it sends the token ids of a model of OpenAI.
    model = OpenAIEmbeddings(base_url=BASE_URL, api_key="none", model=MODEL, check_embedding_ctx_length=False)
    store = InMemoryVectorStore.from_texts(TEXTS, model)
    found = store.similarity_search_with_score(QUESTION, k=2)
    later = asyncio.run(store.asimilarity_search(QUESTION, k=2))
    return {
        "found": [[document.page_content, score] for document, score in found],
        "found later": [document.page_content for document in later],
        "dimensions": len(model.embed_query(QUESTION)),
        "too long": refusal(BadRequestError, lambda: model.embed_query(ASKED["long"])),
    }


def llama_index():
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding
    from openai import BadRequestError

    model = OpenAILikeEmbedding(model_name=MODEL, api_base=BASE_URL, api_key="none", embed_batch_size=2, max_retries=0)
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=model)
    retriever = index.as_retriever(similarity_top_k=2)
    return {
        "found": [[node.text, node.score] for node in retriever.retrieve(QUESTION)],
        "found later": [node.text for node in asyncio.run(retriever.aretrieve(QUESTION))],
        "dimensions": len(model.get_query_embedding(QUESTION)),
        "too long": refusal(BadRequestError, lambda: model.get_query_embedding(ASKED["long"])),
    }


def refusal(kind, ask):
    try:
        ask()
    except kind as error:
        return [error.status_code, error.body["param"]]
    return None


print(json.dumps(langchain_openai() if find_spec("langchain_openai") else llama_index()))
