// No validatorUrl: Swagger UI would send the document to validator.swagger.io.
SwaggerUIBundle({ url: "./openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
