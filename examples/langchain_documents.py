"""Questions about text files with LangChain, against `langraft serve MODEL --embeddings`.

python examples/langchain_documents.py http://127.0.0.1:8000/v1 MODEL FOLDER QUESTION
"""

from __future__ import annotations

import sys
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter

PROMPT = ChatPromptTemplate.from_messages(
    [("user", "已知信息：\n{passages}\n\n请根据以上信息回答，并注明编号。\n问题：{question}")]
)


def answer(url: str, model: str, folder: Path, question: str, key: str = "none") -> str:
    """The model's answer from the passages nearest to the question."""
    splitter = RecursiveCharacterTextSplitter(
        chunk_size=300,
        chunk_overlap=40,
        separators=["\n\n", "\n", "。", "！", "？", "；", "，", " ", ""],
    )
    documents = [
        Document(path.read_text(encoding="utf-8"), metadata={"file": path.name})
        for path in sorted(folder.glob("*.txt"))
    ]
    embeddings = OpenAIEmbeddings(
        model=model, base_url=url, api_key=key, check_embedding_ctx_length=False
    )
    store = InMemoryVectorStore(embeddings)
    store.add_documents(splitter.split_documents(documents))
    found = store.similarity_search(question, k=3)
    passages = "\n".join(f"[{n}] {one.page_content}" for n, one in enumerate(found, 1))
    chat = ChatOpenAI(model=model, base_url=url, api_key=key, temperature=0, max_tokens=64)
    reply = (PROMPT | chat).invoke({"passages": passages, "question": question})
    return str(reply.content)


if __name__ == "__main__":
    print(answer(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]))
