/**
 * The instance's role first; where it has none, the rest of the SDK's own chain (environment, shared files). Once the role has answered it is the only one
 * asked: metadata that is silent for a moment must not turn this host into somebody else.
 */
export const roleFirst = <T>(role: () => Promise<T>, others: () => Promise<T>): (() => Promise<T>) => {
  let hasRole = false
  return async () => {
    try {
      const found = await role()
      hasRole = true
      return found
    } catch (error) {
      if (hasRole) throw error
      return others()
    }
  }
}

/** Loads the SDK's own providers. */
export const credentials = async () => {
  const [{ fromInstanceMetadata }, { defaultProvider }] = await Promise.all([
    import('@smithy/credential-provider-imds'),
    import('@aws-sdk/credential-provider-node'),
  ])
  return roleFirst(fromInstanceMetadata({ timeout: 2_000, maxRetries: 2 }), defaultProvider())
}
