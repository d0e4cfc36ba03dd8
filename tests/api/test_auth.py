import uuid


def test_me(anonymous, token_for):
    user = uuid.uuid4()
    r = anonymous.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token_for(user)}"})
    print(r.status_code, r.headers, r.text)
    assert r.status_code == 200
    assert anonymous.get("/api/v1/auth/me").status_code == 401
    for p in ("/ready", "/metrics", "/health", "/nothing", "/api/openapi.json"):
        r = anonymous.get(p)
        print(p, r.status_code, r.headers, r.text[:600])
