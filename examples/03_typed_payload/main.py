"""An agent with a typed payload: what does not fit is refused before its code runs, and each wrong field is named.

python examples/03_typed_payload/main.py
curl localhost:8080/invocations --json '{"lines": [{"item": "tea", "quantity": 2, "price": "3.50"}]}'
curl localhost:8080/invocations --json '{"lines": [{"item": "tea", "quantity": 0}]}'
"""

from decimal import Decimal

from pydantic import BaseModel, Field

from ppio_agent_runtime import AgentError, PPIOAgentRuntimeApp

BUDGET = Decimal(1000)

app = PPIOAgentRuntimeApp()


class Line(BaseModel):
    item: str
    quantity: int = Field(gt=0)
    price: Decimal = Field(ge=0)


class Order(BaseModel):
    lines: list[Line] = Field(min_length=1)


class Invoice(BaseModel):
    items: int
    total: Decimal


@app.entrypoint
async def invoice(order: Order) -> Invoice:
    total = sum((line.quantity * line.price for line in order.lines), Decimal(0))
    if total > BUDGET:
        # The caller reads exactly this; any other exception would only tell it that the agent failed.
        raise AgentError(f"{total} is more than the budget of {BUDGET}", status_code=409, error_type="OverBudget")
    return Invoice(items=sum(line.quantity for line in order.lines), total=total)


if __name__ == "__main__":
    app.run()
