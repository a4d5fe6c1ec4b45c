"""The usage examples of the design, word for word but for where things are imported from."""

from __future__ import annotations

import subprocess
import sys

BACKEND = '''
# 后端开发者使用
from ppio_agent_client import AgentRuntimeClient, InvocationRequest
import asyncio

async def main():
    # 初始化客户端
    client = AgentRuntimeClient(
        api_key="your-api-key",
        api_secret="your-api-secret"
    )
    
    # 方式一：自动管理会话（推荐用于简单场景）
    request = InvocationRequest(
        query="请帮我分析这个数据",
        data={"dataset": "sales_data.csv"},
        stream=False
    )
    
    response = await client.invoke_agent(
        template_id="agent-template-123",
        request=request
    )
    print(f"Agent 响应: {response.result}")
    
    # 方式二：手动管理会话（推荐用于复杂场景）
    session = await client.create_session(
        template_id="agent-template-123",
        timeout_seconds=600
    )
    
    try:
        # 多轮对话
        for i in range(3):
            request = InvocationRequest(
                query=f"这是第 {i+1} 轮对话",
                session_id=session.session_id
            )
            
            response = await session.invoke(request)
            print(f"第 {i+1} 轮响应: {response.result}")
            
    finally:
        # 确保会话被关闭
        await session.close()
    
    # 流式响应示例
    session = await client.create_session("streaming-agent-456")
    
    request = InvocationRequest(query="请生成一个长故事", stream=True)
    
    async for chunk in await session.invoke(request, stream=True):
        print(f"流式内容: {chunk}")
    
    await session.close()
    await client.close_all_sessions()

# Django/FastAPI 集成示例
class AgentService:
    def __init__(self):
        self.client = AgentRuntimeClient(
            api_key=settings.PPIO_API_KEY,
            api_secret=settings.PPIO_API_SECRET
        )
    
    async def process_user_request(self, user_id: str, query: str) -> str:
        """处理用户请求"""
        try:
            request = InvocationRequest(
                query=query,
                metadata={"user_id": user_id}
            )
            
            response = await self.client.invoke_agent(
                template_id="customer-service-agent",
                request=request
            )
            
            return response.result
            
        except Exception as e:
            logger.error(f"Agent 调用失败: {e}")
            raise

if __name__ == "__main__":
    asyncio.run(main())
'''  # noqa: W293  # the design's own words and spaces

SERVICE_CALL = """

import logging
from types import SimpleNamespace

settings = SimpleNamespace(PPIO_API_KEY="key", PPIO_API_SECRET="secret")
logger = logging.getLogger("service")
print(asyncio.run(AgentService().process_user_request("u-1", "where is my order")))
"""

SERVICE = BACKEND.replace('__name__ == "__main__"', "False") + SERVICE_CALL

BACKEND_PRINTS = [
    "Agent 响应: answer to 请帮我分析这个数据",
    "第 1 轮响应: answer to 这是第 1 轮对话",
    "第 2 轮响应: answer to 这是第 2 轮对话",
    "第 3 轮响应: answer to 这是第 3 轮对话",
    "流式内容: once",
    "流式内容: upon a time",
]
SERVICE_PRINTS = ["answer to where is my order"]
TEMPLATES = {
    "agent-template-123": "answerer",
    "streaming-agent-456": "storyteller",
    "customer-service-agent": "answerer",
}
"""The templates that the examples name, and the kind of agent that each of them wants."""


def run(program: str, environment: dict[str, str]) -> list[str]:
    """Return what a program prints; it says nothing else, not even about things it forgot to close."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", program],
        capture_output=True,
        check=False,
        env=environment,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode().splitlines()
