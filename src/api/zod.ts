import { extendZodWithOpenApi } from '@asteasolutions/zod-to-openapi'
import { z } from 'zod'

// It adds a method to every schema that is made afterwards: schemas are made from this `z` only.
extendZodWithOpenApi(z)

export { z }
